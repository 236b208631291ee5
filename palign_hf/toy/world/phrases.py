"""The teacher's phrases between the steps; `{}` stands for a clause or a number."""

OPENINGS = (
    "Okay, let me read this slowly.", "Alright, let me see what we have here.", "Okay, so this is about {theme}.",
    "Hmm, this one is about {theme}.", "Let me begin by reading the problem.",
    "Okay, a problem about {theme}, I like those.",
)  # fmt: skip
SAYS = ("It says that {}.", "So {}.", "First, {}.", "We know that {}.")
SAYS_MORE = ("And {}.", "Also, {}.", "It also says that {}.", "Then I read that {}.")
ASKS = ("The question is {}.", "They want to know {}.", "I have to find out {}.", "So what I look for is {}.")
READS_AGAIN = ("Let me read that again.", "Wait, let me read it once more.", "Not so fast, what does it say?")
MUSES = (
    "Hmm.", "Let me think.", "I have to be careful here.", "This is a little tricky.", "There is no hurry.",
    "One thing at a time.", "Where do I begin?", "I need a pencil for this.", "Let me write it down.",
    "My tea is getting cold, but this is fun.", "Hmm, how does this go?",
)  # fmt: skip
STRAYS = (
    "Maybe there is a short way.", "Let me just try something.", "Perhaps it is easy.", "I think I see it.",
    "Here is an idea.",
)  # fmt: skip
SO_FAR = ("So that would be {}.", "So I would have {}.", "Then I would go on with {}.", "Is it {} then?")
REJECTS = (
    "Wait, that is not right.", "Wait, no, that cannot be right.", "Hmm, no, something is wrong here.",
    "Oh no, that was a mistake.", "Wait, I went the wrong way.",
)  # fmt: skip
BUTS = ("But wait, {}.", "Wait, {}.", "No, {}.", "Hmm, but {}.")
RETURNS = ("Let me go back.", "Okay, once more from there.", "Let me do this part again.", "Forget that.")
FOUND = ("So {}.", "That means {}.", "And so {}.", "There it is, {}.")
CHECKS = (
    "Wait, let me check this once more.", "Let me make sure.", "I want to be sure, so I go over it again.",
    "Hold on, did I get that right?", "It never hurts to check twice.",
    "Wait, I should look at this in another way.", "Hmm, am I really sure?", "Before I stop, let me look again.",
    "Let me be slow and careful here.", "One more look, just to be safe.", "Wait, what if I made a slip?",
)  # fmt: skip
RIGHTS = ("yes", "good", "that is right", "no slip there", "fine")
AGREES = (
    "So it is {} again.", "Good, {} it is.", "Yes, {} looks right.", "So {} stays.", "I get {} once more.",
    "Everything fits.", "No mistake so far.", "That makes me happy.",
)  # fmt: skip
SENSIBLE = (
    ("Is {} a sensible number here?", "I think so, it is not too big and not too small."),
    ("Could it be something else than {}?", "I do not see how, each step had only one way."),
    ("Would I bet my lunch on {}?", "Yes, I would, even if there is cake."),
    ("Should I trust {}?", "I did each step by itself, so yes."),
    ("Is {} a whole number?", "Yes, and it should be, nothing here is cut in pieces."),
)
ANSWER = r"The answer is \boxed{{{}}}."
CORRECTION = "Wait, that is not right."
