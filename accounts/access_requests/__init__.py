"""Users' requests for access to an application, and the answers of its owners."""
