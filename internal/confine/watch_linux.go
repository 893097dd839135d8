package confine

func (p *Process) watch() {}
