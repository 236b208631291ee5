"""The families of problems, one module each: `draw` finds the numbers, `tell` makes a story and a solution of them."""

from palign_hf.toy.world.families import backwards, bags, chain, clubs, machine


BY_NAME = {"chain": chain, "backwards": backwards, "bags": bags, "machine": machine, "clubs": clubs}
