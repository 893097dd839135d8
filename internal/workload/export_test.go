package workload

// Len returns how many host names are in memory, those that lead nowhere among them.
func (d *Domains) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.hosts)
}
