"""Problem families, one module each: `draw` generates the numbers, `tell` the story and the solution."""

from palign_hf.toy.world.families import backwards, bags, chain, clubs, machine


BY_NAME = {"chain": chain, "backwards": backwards, "bags": bags, "machine": machine, "clubs": clubs}
