"""What a check costs, beside what it could cost at best and what its peers cost (`make bench`)."""
