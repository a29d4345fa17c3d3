"""Measurements that the README and the documents quote."""
