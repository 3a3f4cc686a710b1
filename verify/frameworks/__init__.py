"""Other frameworks' functions as subjects: one file is one framework, and nothing is imported before it is used."""
