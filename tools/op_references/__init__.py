"""The reference page, read from the code: what op_reference.py writes."""
