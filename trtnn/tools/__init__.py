"""What a user takes to find out why a result is wrong."""
