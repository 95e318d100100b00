"""terrascope-8b: InternVL for language and vision, SAM-2 for masks, composed and not changed."""
