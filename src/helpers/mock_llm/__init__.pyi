from .client import MockLLM as MockLLM
from .records.ledger import Connection as Connection
from .records.ledger import Ledger as Ledger
from .records.ledger import Request as Request
from .settings.faults import Fault as Fault
from .settings.limits import Limits as Limits
from .settings.profiles import PROFILES as PROFILES
from .settings.profiles import Profile as Profile
