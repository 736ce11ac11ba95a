"""From figures to items: values in, values out."""
