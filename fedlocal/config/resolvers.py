"""Arithmetic resolvers, for example `${div:2,${add:${K},2}}`; registered at import."""

from omegaconf import OmegaConf

OmegaConf.register_new_resolver("mul", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("add", lambda a, b: a + b, replace=True)
OmegaConf.register_new_resolver("div", lambda a, b: a / b, replace=True)
OmegaConf.register_new_resolver("ceil_div", lambda a, b: -(-a // max(b, 1)), replace=True)
