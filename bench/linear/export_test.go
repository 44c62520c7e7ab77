package linear

// Exact returns a session that keeps keys and values of full attention in binary32.
func Exact(m *Model) *Session {
	s := m.NewSession()
	s.exact = true
	return s
}
