"""What several experiments use: context, results, recipes, published figures, measures, figures."""
