"""Pure maths of diffusion on tensors: schedules, parameterizations, losses, guidance, samplers.

Time t runs from 0 (clean) to 1 (noise); x_t = alpha(t) * x_0 + sigma(t) * eps.
"""
