"""Records in the ring: put and get, and keeping every record where it belongs while nodes come and go."""
