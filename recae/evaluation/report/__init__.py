"""The evaluation report: one typed record of a comparison, and its page, tables, pictures and sentences."""
