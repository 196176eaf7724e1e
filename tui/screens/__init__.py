"""The four screens, help and the small dialogs over them."""
