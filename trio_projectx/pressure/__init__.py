"""Memory: what there is, what everything may cost, when it becomes scarce, and what is given up then."""
