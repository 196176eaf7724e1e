"""MLX, on mlx.core and mlx-lm's model definitions."""
