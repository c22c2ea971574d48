"""Energy sources: CodeCarbon gives the figures, and hardware counters read directly check them.

Importing the package loads no instrument, since reports only need `net` and records.

source.py        the protocol of every source: read, origins, describe
codecarbon.py    CodeCarbon's offline tracker, behind one adapter
rapl.py          the processor's counters under /sys/class/powercap
nvml.py          NVIDIA boards' counters, and what a board says of itself
counter.py       a counter that may wrap, jump, freeze or vanish
instruments.py   all of them as one source, for one device
accumulator.py   sums of joules over windows, with coverage and reasons
idle.py          idle power of the machine
net.py           joules above idle, computed for reports
caveats.py       warnings about a trial's joules
selftest.py      tries the sources: step, cost, renewal, noise, agreement
traps.py         what can go wrong here, one checked function each
"""
