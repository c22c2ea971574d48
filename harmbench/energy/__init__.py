"""Where joules come from: CodeCarbon gives the figures, hardware counters read directly watch it.

Nothing is loaded with the package: reports read what `net` makes of records, and need no instrument.

source.py        the protocol of every source: read, origins, describe
codecarbon.py    CodeCarbon's offline tracker, behind one adapter
rapl.py          the processor's counters under /sys/class/powercap
nvml.py          NVIDIA boards' counters, and what a board says of itself
counter.py       a counter that may wrap, jump, freeze or vanish
instruments.py   all of them as one source, for one device
tally.py         adds up windows; joules, coverage, reasons
idle.py          what the machine draws while no trial runs
net.py           joules above that, made when reporting
caveats.py       what a reader of a trial's joules must know
selftest.py      tries the sources: step, cost, renewal, noise, agreement
traps.py         what can go wrong here, one checked function each
"""
