"""What a round of the controller costs when there is nothing to do."""
