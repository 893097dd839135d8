package adapter

func preparePython(s source, entrypoint string) (Plan, error) {
	file, err := firstFile(s, "main.py", []string{"main.py"})
	if err != nil {
		return Plan{}, err
	}
	folder, err := s.newFolder()
	if err != nil {
		return Plan{}, err
	}
	if err := s.copyAdapter("python", folder); err != nil {
		return Plan{}, err
	}
	env := variables(entrypoint)
	env["PYTHONUNBUFFERED"] = "1" // what it prints is in the log at once
	return Plan{Args: []string{"python", folder + "/serve.py", file, entrypoint}, Env: env}, nil
}
