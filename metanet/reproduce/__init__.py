"""The papers' tables and figures, each a recipe over zoos, fits and figures."""
