"""From demand to the optimal plan: pure functions of plain arrays and domain models."""
