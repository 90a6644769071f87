"""What needs attention on the admin's first page. `portal` collects the matters of all the other modules."""
