package confine

func (p *Process) watch()                              {}
func (p *Process) restrict(s *script, c Command) error { return nil }
