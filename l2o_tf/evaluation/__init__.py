"""Evaluation of trained rules: results on disk, statistics over seeds, figures, comparison."""
