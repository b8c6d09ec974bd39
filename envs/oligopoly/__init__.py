"""Cournot and Stackelberg competition between n producers."""
