"""gomlx replay: sends the rows of a log again, and compares the answers."""
