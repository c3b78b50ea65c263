"""Tables, plots and comparisons of reproduced results."""
