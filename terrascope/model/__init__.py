"""The pixel-grounded vision-language model: torch, transformers, numpy and safetensors only."""
