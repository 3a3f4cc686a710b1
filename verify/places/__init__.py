"""Where a case is looked at: random and own points, other sizes, points that a search finds."""
