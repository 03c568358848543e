"""What attacks of one client cost the others: python -m loadtests.attack URL"""
