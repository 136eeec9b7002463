"""Growing zoos: recipes, plans, stacked base networks and the runner."""
