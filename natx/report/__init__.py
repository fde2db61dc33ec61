"""What a person reads: tables, text, pages and pictures of an evaluation."""
