"""The 8b backbone: InternVL for language and vision, SAM-2 for masks, composed, not changed."""
