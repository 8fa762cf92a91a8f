// Names that many calls share. It stops mistakes, a cast and an `add`; no code in this process can be stopped from harm.

/** A set of names that cannot be changed: `add`, `delete` and `clear` throw a `TypeError`. */
export class FrozenSet extends Set<string> {
  /** Why it is empty, for the reason of a denial: `the token has no claim roles`. */
  readonly absence: string | undefined;

  constructor(names: Iterable<string> = [], absence?: string) {
    super();
    for (const name of names) super.add(name);
    this.absence = absence;
    Object.freeze(this);
  }

  override add(): never {
    throw cannotBeChanged();
  }

  override delete(): never {
    throw cannotBeChanged();
  }

  override clear(): never {
    throw cannotBeChanged();
  }
}

function cannotBeChanged(): TypeError {
  return new TypeError("roles and permissions are shared by all calls of a principal and cannot be changed");
}
