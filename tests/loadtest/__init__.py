"""loadtest/: what is started there ends again, and what fails is noticed."""
