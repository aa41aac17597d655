"""What evaluation and training both read: sources of rows, their columns, documents, and the wording of prompts."""
