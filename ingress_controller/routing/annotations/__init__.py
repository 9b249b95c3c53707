"""Spanway's own annotations, `spanway.io/*`: what there is, how it is read, its documentation."""
