"""The pages of help, and completion: both made from the declarations."""
