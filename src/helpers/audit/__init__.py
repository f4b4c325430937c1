"""The lab's measurements, turned on any application.

A **scenario** says how the provider behaves, a **driver** uses the application meanwhile, a
**check** turns what was recorded into a verdict with evidence, and **reports** show it.
"""
