"""Dictionaries in which a name can have several values, as Flask has them."""


class MultiDict(dict):
    """A dict of the first values, which knows the others as well."""

    def __init__(self):
        super().__init__()
        self._all = {}

    def add(self, name, value):
        self._all.setdefault(name, []).append(value)
        dict.setdefault(self, name, value)

    def get(self, name, default=None, type=None):
        if name not in self:
            return default
        if type is None:
            return self[name]
        try:
            return type(self[name])
        except (TypeError, ValueError):
            return default

    def getlist(self, name, type=None):
        values = list(self._all.get(name, ()))
        if type is None:
            return values
        found = []
        for value in values:
            try:
                found.append(type(value))
            except (TypeError, ValueError):
                continue
        return found

    def items(self, multi=False):
        if not multi:
            return dict.items(self)
        return [(name, value) for name, values in self._all.items() for value in values]

    def lists(self):
        return [(name, list(values)) for name, values in self._all.items()]

    def to_dict(self, flat=True):
        return dict(self) if flat else dict(self.lists())


class Headers:
    """The fields of a request; the case of a name does not matter."""

    def __init__(self, pairs):
        self._pairs = pairs
        self._values = {name.lower(): value for name, value in pairs}

    @classmethod
    def of(cls, environ):
        pairs = []
        for key, value in environ.items():
            if key.startswith("HTTP_"):
                key = key[len("HTTP_"):]
            elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                continue
            pairs.append((key.replace("_", "-").title(), value))
        return cls(pairs)

    def get(self, name, default=None, type=None):
        value = self._values.get(name.lower())
        if value is None:
            return default
        if type is None:
            return value
        try:
            return type(value)
        except (TypeError, ValueError):
            return default

    def __getitem__(self, name):
        return self._values[name.lower()]

    def __contains__(self, name):
        return name.lower() in self._values

    def getlist(self, name):
        return [self[name]] if name in self else []

    get_all = getlist

    def items(self):
        return list(self._pairs)

    def keys(self):
        return [name for name, _ in self._pairs]

    def values(self):
        return [value for _, value in self._pairs]

    def __iter__(self):
        return iter(self._pairs)

    def __len__(self):
        return len(self._pairs)

    def __repr__(self):
        return "Headers(%r)" % (self._pairs,)
