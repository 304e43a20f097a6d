"""Samplers: from noise to a picture in S steps, knowing nothing but a denoiser and a course; one family a file."""
