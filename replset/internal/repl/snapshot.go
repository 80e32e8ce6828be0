package repl

import "slices"

// snapshot is a state as a View shows it, and beside it the member's own database.
type snapshot struct {
	*state
	op OpTime
	p  *process
}

func (s snapshot) OpTime() OpTime { return s.op }

func (s snapshot) Databases() []string {
	names := s.databases()
	if s.p.local(s.op) == nil {
		return names
	}
	i, _ := slices.BinarySearch(names, localDB)
	return slices.Insert(names, i, localDB)
}

func (s snapshot) Collections(db string) []CollectionInfo {
	if db != localDB {
		return s.infos(db)
	}
	var infos []CollectionInfo
	if l := s.p.local(s.op); l != nil {
		for _, c := range l.colls {
			infos = append(infos, c.info)
		}
	}
	return infos
}

func (s snapshot) Collection(db, name string) Collection {
	if db == localDB {
		if l := s.p.local(s.op); l != nil {
			for _, c := range l.colls {
				if c.info.Name == name {
					return c
				}
			}
		}
		return nil
	}
	if c, ok := s.colls.get(nsKey(db, name)); ok {
		return c
	}
	return nil
}
