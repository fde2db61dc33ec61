"""What configs may say: their keys, with types, defaults and meanings."""
