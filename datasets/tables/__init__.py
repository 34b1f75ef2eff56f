"""Readers of product tables as shops and other systems deliver them, converted to schema `PRODUCT`."""
