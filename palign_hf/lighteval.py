"""`python -m palign_hf.lighteval ...`: the command line of lighteval, where today's libraries would stop it.

python -m palign_hf.lighteval accelerate model_name=... "palign:math_500" --custom-tasks palign_hf.evaluation.tasks
"""

from palign_hf.evaluation.backend import main


if __name__ == "__main__":
    main()
